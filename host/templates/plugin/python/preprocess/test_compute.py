import unittest

import compute


class ComputeTest(unittest.TestCase):
    def test_a_body_must_fill_the_shape(self):
        compute.check([1, 2, 2], 4)
        with self.assertRaises(compute.TooShort):
            compute.check([2, 2], 3)
        with self.assertRaises(compute.TooLong):
            compute.check([2, 2], 5)
        with self.assertRaisesRegex(compute.TooShort, "empty"):
            compute.check([1, 0], 0)

    def test_bytes_are_scaled(self):
        self.assertEqual(compute.scaled(bytes([0, 255])).tolist(), [0.0, 1.0])


if __name__ == "__main__":
    unittest.main()
