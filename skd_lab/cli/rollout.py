"""skd-lab rollout: student and teacher write a completion together; shows who wrote what."""

import argparse
from pathlib import Path
from typing import Any

from skd_lab.cli.flags import MODEL_FLAGS, SAMPLING_FLAGS, add_config_flags, config_from
from skd_lab.errors import UsageError


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "rollout",
        help="Write a completion, token by token, and show who wrote what.",
        description="Complete a prompt by Algorithm 1: the student proposes each token, the "
        "teacher keeps it or writes its own. Prints the completion as a coloured strip, refused "
        "tokens struck through; plain [-refused-]{+written+} marks where there are no colours.",
    )
    parser.add_argument(
        "--prompt",
        action="append",
        required=True,
        metavar="TEXT",
        help="What to complete; a chat turn if the models have a chat template. May be repeated.",
    )
    parser.add_argument(
        "--json", action="store_true", help="Print the traces as NDJSON (skd-trace/1)."
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="Write the traces as NDJSON to a file."
    )
    add_config_flags(parser, only=(*MODEL_FLAGS, *SAMPLING_FLAGS))


def run(args: argparse.Namespace) -> int:
    config = config_from(args)
    if not all(text.strip() for text in args.prompt):
        raise UsageError("--prompt is empty. Give it some text to complete.")

    from skd_lab.encode import encode_prompt
    from skd_lab.prepare import pair_for
    from skd_lab.recording import record_traces
    from skd_lab.records import dumps_traces
    from skd_lab.sampling import SamplingPolicy, draw_uniforms
    from skd_lab.speculative import interleaved_rollout

    asked: dict[str, Any] = {
        "accept_top_k": config.top_k_at(0),
        "gamma": config.gamma,
        "student_policy": SamplingPolicy(**config.policy("student")),
        "teacher_policy": SamplingPolicy(**config.policy("teacher")),
        "replacement": config.replacement,
        "variant": config.variant,
        "uniforms": draw_uniforms(config.seed, len(args.prompt), config.max_new_tokens),
    }
    pair = pair_for(config)
    rollouts = interleaved_rollout(
        pair.student,
        pair.teacher,
        [
            encode_prompt(pair.tokenizer, text, pair.vocab_size, config.thinking)
            for text in args.prompt
        ],
        max_new_tokens=config.max_new_tokens,
        eos_token_ids=pair.eos_token_ids,
        vocab_size=pair.vocab_size,
        **asked,
    )
    traces = record_traces(pair, rollouts, seed=config.seed, **asked)
    if args.output:
        from skd_lab.files import write_text_atomic

        write_text_atomic(args.output, dumps_traces(traces))
    if args.json:
        print(dumps_traces(traces), end="")
        return 0

    from skd_lab.views.terminal import print_strip

    for trace in traces:
        print_strip(trace)
    return 0
