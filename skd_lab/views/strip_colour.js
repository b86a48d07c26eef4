/* What a token's colour says: teacher's rank (cut at K), a probability, KL or entropy. Four blues,
   light for what the model expects and strong for what surprises it, and cream for a refusal. */

const CHANNELS = {
  rank: { label: "teacher rank" },
  p_student: { label: "student probability", field: "p_student", cuts: [0.9, 0.5, 0.1], words: percentRange },
  p_teacher: { label: "teacher probability", field: "p_teacher", cuts: [0.9, 0.5, 0.1], words: percentRange },
  kl: { label: "per-token KL", field: "kl", cuts: [0.05, 0.5, 2], words: natsRange, up: true },
  entropy_student: { label: "student entropy", field: "entropy_student", cuts: [0.1, 0.5, 1.5], words: natsRange, up: true },
  entropy_teacher: { label: "teacher entropy", field: "entropy_teacher", cuts: [0.1, 0.5, 1.5], words: natsRange, up: true },
};

function percentRange(cuts, at) {
  if (at === 0) return `${100 * cuts[0]}% or more`;
  return at < cuts.length ? `${100 * cuts[at]} to ${100 * cuts[at - 1]}%` : `under ${100 * cuts[at - 1]}%`;
}

function natsRange(cuts, at) {
  if (at === 0) return `under ${cuts[0]} nats`;
  return at < cuts.length ? `${cuts[at - 1]} to ${cuts[at]}` : `${cuts[at - 1]} nats or more`;
}

/* Classes of one channel, in order: {name, label}. limit: K, where the channel is the rank. */
function classesOf(channel, limit) {
  if (channel !== "rank") {
    const { cuts, words } = CHANNELS[channel];
    return ["r1", "r2", "r3", "r4"].map((name, at) => ({ name, label: words(cuts, at) }));
  }
  const classes = [], end = limit ?? Infinity;
  let low = 1;
  for (const high of [1, 5, 25, Infinity]) {
    if (low > end) break;
    const top = Math.min(high, end);
    const label = top === low ? `${whole(low)}` : top === Infinity ? `${whole(low)} and on` : `${whole(low)} to ${whole(top)}`;
    classes.push({ name: `r${classes.length + 1}`, low, high: top, label: `rank ${label}` });
    low = high + 1;
  }
  return classes;
}

/* Shade of a token: r1 to r4, cream, or "" where there is nothing to colour by. */
function shadeOf(token, verdict, channel) {
  if (channel !== "rank") {
    const { field, cuts, up } = CHANNELS[channel], value = finite(token[field]);
    if (value === null) return "";
    const at = cuts.findIndex((cut) => (up ? value < cut : value >= cut));
    return `r${(at < 0 ? cuts.length : at) + 1}`;
  }
  if (verdict === "replaced") return "cream";
  if (verdict !== "accepted") return "";
  const rank = token.teacher_rank;
  return rank <= 1 ? "r1" : rank <= 5 ? "r2" : rank <= 25 ? "r3" : "r4";
}
