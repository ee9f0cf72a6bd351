"""What the task list promises."""

import tempfile
import unittest
from pathlib import Path

from tasks import TaskList, main


class Adding(unittest.TestCase):
    def test_numbers_count_up_from_one(self):
        tasks = TaskList()
        self.assertEqual([tasks.add("a").number, tasks.add("b").number], [1, 2])

    def test_a_task_without_a_title_is_refused(self):
        with self.assertRaises(ValueError):
            TaskList().add("   ")


class Finishing(unittest.TestCase):
    def test_a_finished_task_is_no_longer_open(self):
        tasks = TaskList()
        tasks.add("a")
        tasks.add("b")
        tasks.finish(1)
        self.assertEqual([task.title for task in tasks.open()], ["b"])

    def test_an_unknown_number_is_refused(self):
        with self.assertRaises(KeyError):
            TaskList().finish(7)


class Saving(unittest.TestCase):
    def test_what_was_saved_is_loaded_again(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "tasks.json"
            self.assertEqual(main(["add", "Water", "the", "plants"], path), 0)
            self.assertEqual(main(["done", "1"], path), 0)
            loaded = TaskList.load(path)
            self.assertEqual(loaded.tasks[0].title, "Water the plants")
            self.assertTrue(loaded.tasks[0].done)


if __name__ == "__main__":
    unittest.main()
