"""The rubric of both homework sets, with its evidence."""
