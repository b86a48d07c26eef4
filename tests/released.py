"""What the published code of SKD does where it differs from the paper, from its description.

None of it is used by skd_lab; the tests of test_paper_vs_code.py show that they would notice it.
Decisions of its sampler (tests, warping, policies) are `variant="released"` in the library.
"""

import torch
import torch.nn.functional as F
from oracle import draw, next_logits


def generate(student, teacher, prompt, *, accept_top_k, gamma, max_new_tokens, policy, uniforms):
    """The block loop of its patched assisted decoding, batch size 1, without eos; [2, tokens]."""
    ids, limit = list(prompt), len(prompt) + max_new_tokens
    valid = None
    while len(ids) < limit:
        # one place is kept free for a token of the teacher
        width = min(gamma, limit - len(ids) - 1)
        if width > 0:
            valid = []
            for _ in range(width):
                context, t = ids + valid, len(ids) + len(valid) - len(prompt)
                token = draw(next_logits(student, context), policy, uniforms[0, t])
                scores = next_logits(teacher, context)
                if token in scores.topk(accept_top_k).indices.tolist():
                    valid.append(token)
                    continue
                valid.append(draw(scores, policy, uniforms[1, t]))
                break
        if valid is None:
            raise NameError("valid_tokens is not defined")  # as it is for a limit of one token
        # with no room for a proposal the sampler is skipped, and the last block comes once more
        ids += valid
    return ids[len(prompt) :]


def response_logits(logits, prompt_length):
    """Its slice of a [length, vocab] forward: from the prompt's length on, one place late."""
    return logits[prompt_length:]


def jsd(student, teacher, beta):
    """Its Jensen-Shannon divergence: arguments of kl_div swapped, beta taken and not used."""
    m = (0.5 * (student.exp() + teacher.exp())).log()
    to_student = F.kl_div(student, m, reduction="none", log_target=True).sum(-1)
    to_teacher = F.kl_div(teacher, m, reduction="none", log_target=True).sum(-1)
    return 0.5 * (to_student + to_teacher)


def trained_ids(tokenizer, completion_ids):
    """Its way from sampled ids to trained ids: decoded without special tokens, tokenised again."""
    text = tokenizer.decode(completion_ids, skip_special_tokens=True).strip()
    return [*tokenizer(text, add_special_tokens=False).input_ids, tokenizer.eos_token_id]


def loss(forward):
    """Its training step: forward and loss stand inside the sampling's no_grad."""
    with torch.no_grad():
        return forward()
