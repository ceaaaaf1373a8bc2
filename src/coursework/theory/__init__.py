"""The numeric check behind each proof: claims as decorators, with wrong versions that it must refute."""
