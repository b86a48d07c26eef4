"""What a related method writes to the prompts of test_methods, and an objective's gradient."""

from test_conformance import scored
from test_methods import request

from skd_lab.methods import get_method
from skd_lab.objectives import get_objective


def ids(rollouts):
    return [rollout.completion_ids.tolist() for rollout in rollouts]


def write(name, memory=None, settings=None, **changes):
    method = get_method(name)
    asked = request(
        settings={**method.settings, **(settings or {})},
        memory={} if memory is None else memory,
        **changes,
    )
    return method.write(asked, method.share(None))


def gradient(name, student, teacher, **changes):
    student = student.clone().requires_grad_()
    get_objective(name).of(scored(student, teacher, **changes))[0].backward()
    return student.grad
