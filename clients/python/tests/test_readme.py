"""What README.md says to write, as it stands there."""

from __future__ import annotations

import re
import unittest
from pathlib import Path

import support  # noqa: F401 -- without a server, this fails at once and says what is missing

README = (Path(__file__).parents[1] / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


class ReadmeTest(unittest.TestCase):
    def test_examples_run(self) -> None:
        self.assertGreater(len(EXAMPLES), 3)
        for example in EXAMPLES:
            with self.subTest(example.splitlines()[-1]):
                exec(compile(example, "README.md", "exec"), {"__name__": "readme"})


if __name__ == "__main__":
    unittest.main()
