"""What a GPU gives: each part a program of its own (`python -m eval.gpu PART FILE`), so that memory is free for the next."""
