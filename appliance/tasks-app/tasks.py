"""A small task list: add, finish and list tasks kept in one JSON file.

    python tasks.py add "Water the plants"
    python tasks.py done 1
    python tasks.py list
"""

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass
class Task:
    """One thing to do."""

    number: int
    title: str
    done: bool = False


class TaskList:
    """Tasks in the order in which they were added; numbers are never used again."""

    def __init__(self, tasks=()):
        self.tasks = list(tasks)

    def add(self, title):
        """Adds a task and gives it the next free number."""
        title = title.strip()
        if not title:
            raise ValueError("a task needs a title")
        number = max((task.number for task in self.tasks), default=0) + 1
        task = Task(number, title)
        self.tasks.append(task)
        return task

    def finish(self, number):
        """Marks a task as done."""
        for task in self.tasks:
            if task.number == number:
                task.done = True
                return task
        raise KeyError(f"there is no task {number}")

    def open(self):
        """The tasks that are still to be done."""
        return [task for task in self.tasks if not task.done]

    def save(self, path):
        path = Path(path)
        path.write_text(json.dumps([asdict(task) for task in self.tasks], indent=2) + "\n")

    @classmethod
    def load(cls, path):
        path = Path(path)
        if not path.exists():
            return cls()
        return cls(Task(**entry) for entry in json.loads(path.read_text()))


def main(arguments, path="tasks.json"):
    tasks = TaskList.load(path)
    match arguments:
        case ["add", *words]:
            task = tasks.add(" ".join(words))
            print(f"added {task.number}: {task.title}")
        case ["done", number]:
            task = tasks.finish(int(number))
            print(f"done {task.number}: {task.title}")
        case ["list"]:
            for task in tasks.tasks:
                print(f"[{'x' if task.done else ' '}] {task.number}: {task.title}")
        case _:
            print(__doc__, file=sys.stderr)
            return 2
    tasks.save(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
