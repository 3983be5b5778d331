import unittest

import compute


class ComputeTest(unittest.TestCase):
    def test_outputs_are_listed(self):
        answer = compute.answer([("logits", [1, 3], [0.5, -1.0, 2.25])])
        self.assertEqual(answer, {"outputs": [{"name": "logits", "shape": [1, 3], "values": [0.5, -1.0, 2.25]}]})

    def test_the_error_names_the_value_that_is_not_finite(self):
        with self.assertRaisesRegex(compute.NotFinite, "value 1 of output `logits`"):
            compute.answer([("logits", [2], [0.5, float("nan")])])


if __name__ == "__main__":
    unittest.main()
