"""Tasks by name: every behavior, and the sequences of the published study."""

from __future__ import annotations

from conceptbasis.behaviors import BEHAVIORS
from conceptbasis.config.registry import Registry
from conceptbasis.patching.tasks.base import Task
from conceptbasis.patching.tasks.behaviors import task_of
from conceptbasis.patching.tasks.sequences import DIGITS, MONTHS, NUMBER_WORDS

TASKS: Registry[Task] = Registry(
    "task", (*map(task_of, BEHAVIORS.values()), DIGITS, NUMBER_WORDS, MONTHS)
)
"""Tasks of the package; behaviors that are registered later are found by `find_task` too."""

register = TASKS.register


def find_task(name: str) -> Task:
    """The task of that name; a behavior that an extension registered is a task as well.

    Raises:
        ConfigError: if there is none.
    """
    if name not in TASKS and name in BEHAVIORS:
        register(task_of(BEHAVIORS[name]))
    return TASKS.find(name)
