"""Tools around the solutions: grading, publishing, benchmark, and the student edition."""
