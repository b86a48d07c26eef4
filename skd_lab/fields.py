"""The fields of a run, in the order of the command line's help; what may stand in them: config.py.

The text under a field is its help text, the field itself its flag.
"""

from dataclasses import dataclass
from typing import Literal

REDUCTION = Literal["mean_over_tokens", "mean_over_sequences"]
OVER_LONG = Literal["drop", "cut_left", "error"]
SCHEDULE = Literal["cosine", "linear", "constant", "constant_with_warmup"]
PRECISION = Literal["no", "bf16", "fp16"]
REPLACEMENT = Literal["teacher_sample", "teacher_argmax", "student_in_top_k"]
VARIANT = Literal["paper", "released"]
DTYPE = Literal["float32", "bfloat16", "float16", "float64"]
QUANTISED = Literal["no", "4bit", "8bit"]
DECODING = Literal["plain", "compiled", "recorded"]
OPTIMIZER = Literal["adamw", "adamw_8bit", "paged_adamw_8bit"]


@dataclass(frozen=True, kw_only=True)
class RunFields:
    """Everything that decides a training run. Defaults are the paper's where it gives any."""

    # models
    pair: str | None = None
    """Bundled pair of models, such as tiny-qwen3. Leave out when giving a student and a teacher."""
    student: str | None = None
    """Student: a model folder or a Hub id. With a pair it replaces the pair's student."""
    teacher: str | None = None
    """Teacher: a model folder or a Hub id. With a pair it replaces the pair's teacher."""
    dtype: DTYPE = "float32"
    """Type the weights are loaded in. Train in float32 and let mixed precision save the time."""
    teacher_dtype: DTYPE | None = None
    """Type of the teacher's weights, which are never trained; the student's type if left out."""
    teacher_quantised: QUANTISED = "no"
    """Load the teacher's weights in 4 or 8 bits (needs bitsandbytes)."""
    student_quantised: QUANTISED = "no"
    """Load the student's weights in 4 or 8 bits; then only adapters can be trained."""
    device: str | None = None
    """Device such as cpu, cuda or mps. The best one there is, if left out."""
    mixed_precision: PRECISION = "no"
    """Autocast of the forward passes; fp16, for GPUs without bf16, also scales the loss."""

    # adapters and memory
    lora_rank: int | None = None
    """Train adapters of this rank beside the student's frozen weights (LoRA); all weights if left
    out."""
    lora_alpha: int | None = None
    """An adapter's product counts alpha / rank; twice the rank if left out."""
    lora_dropout: float = 0.0
    """Dropout in front of the adapters."""
    lora_targets: str | None = None
    """Layers that get adapters, by comma, such as q_proj,v_proj; all projections of the known
    architectures if left out."""
    gradient_checkpointing: bool = False
    """Make the student's activations again in the backward pass, a layer at a time: less memory,
    a third more time in the update, none in rollouts."""

    shard_student: bool = False
    """Split the student's weights, gradients and optimizer state over the processes (FSDP2)."""

    # data
    task: str = "summaries"
    """Task that gives prompts, references and the score."""
    data_path: str | None = None
    """File or folder to read instead of the task's own source."""
    n_prompts: int | None = None
    """Training prompts. All if left out (a bundled pair: 1000 or 4000 of a generated task)."""
    max_prompt_tokens: int = 1024
    """Longest prompt, in tokens."""
    over_long: OVER_LONG = "drop"
    """What happens to a longer prompt; drops and cuts are counted and said."""
    thinking: bool = False
    """Let a model think before it answers, where its chat template has that switch (Qwen3)."""

    # method
    method: str = "skd"
    """Who writes the completions, and what is minimised on them."""
    objective: str | None = None
    """Objective; the method's own if left out."""
    beta: float | None = None
    """The teacher's weight in generalized_jsd, inside (0, 1); 0.5 if left out."""
    skew: float | None = None
    """The weight mixed into skewed_forward_kl and skewed_reverse_kl; 0.1 if left out."""
    settings: str | None = None
    """Numbers of the method or objective without a flag of their own, such as budget=120,rank=4."""
    on_policy_fraction: float | None = None
    """Share of prompts not answered by the reference, in gkd and mixed_skd; 0.5 if left out."""
    loss_temperature: float = 1.0
    """Divides both models' logits in the loss."""
    reduction: REDUCTION = "mean_over_tokens"
    """Average over the window's tokens, or the paper's mean of per-sequence means (Eq. 1)."""
    accept_top_k: int | str = 25
    """K of Algorithm 1: a proposal stands if the teacher ranks it in its top K. Or a line over the
    run or over each completion, such as updates:1..25 or tokens:25..1."""
    replacement: REPLACEMENT = "teacher_sample"
    """What a refused proposal becomes."""
    variant: VARIANT = "paper"
    """Algorithm 1 as printed, or the published code's way of deciding, for study."""
    gamma: int | str = 5
    """Draft block size in tokens, or adaptive. Changes cost, not text."""
    decoding: DECODING = "plain"
    """How steps of a rollout are run: compiled (float32 Qwen3 and Gemma3; half a minute first), or
    recorded as CUDA graphs. Changes cost, not text."""
    max_new_tokens: int = 128
    """Longest completion, in tokens."""
    student_temperature: float = 1.0
    """Temperature of the student's proposals."""
    student_top_k: int | None = None
    """Keep the student's k most likely tokens when it proposes."""
    student_top_p: float | None = None
    """Nucleus of the student's proposals."""
    student_greedy: bool = False
    """The student proposes its most likely token."""
    teacher_temperature: float = 1.0
    """Temperature of the teacher's replacements."""
    teacher_top_k: int | None = None
    """Keep the teacher's k most likely tokens when it replaces."""
    teacher_top_p: float | None = None
    """Nucleus of the teacher's replacements."""
    teacher_greedy: bool = False
    """The teacher replaces by its most likely token."""

    # optimisation
    steps: int = 200
    """Optimizer updates."""
    batch_size: int = 16
    """Prompts per update, over all processes."""
    microbatch_size: int | None = None
    """Rows in one forward and backward of a process; the whole share if left out."""
    optimizer: OPTIMIZER = "adamw"
    """AdamW; its state in 8 bits (needs bitsandbytes), or that in memory the GPU shares (paged)."""
    learning_rate: float = 1e-5
    """Peak learning rate of AdamW."""
    lr_schedule: SCHEDULE = "cosine"
    """How the learning rate falls."""
    warmup_steps: int = 0
    """Updates in which the learning rate rises from 0."""
    weight_decay: float = 0.0
    """AdamW's decay of weight matrices."""
    max_grad_norm: float = 1.0
    """Gradients are clipped to this norm."""
    seed: int = 0
    """Keys the uniforms and the order of prompts."""

    # the run folder
    run_dir: str = "runs/run"
    """Folder that the run writes."""
    resume: bool = False
    """Go on from the newest checkpoint of the run folder."""
    overwrite: bool = False
    """Delete what an earlier run left in the run folder."""
    save_every: int = 100
    """Updates between checkpoints; one is always written at the end."""
    keep_checkpoints: int | None = 2
    """Newest checkpoints that stay."""
    eval_every: int | None = None
    """Updates between evaluations on validation prompts; none if left out."""
    eval_prompts: int = 50
    """Validation prompts of such an evaluation."""
    trace_every: int = 50
    """Updates between recordings of the watched prompts."""
    trace_prompts: int = 2
    """Validation prompts whose token strips are recorded; 0 for none."""
    track: str | None = None
    """Show the numbers in tensorboard or wandb too while the run goes; both with a comma."""
