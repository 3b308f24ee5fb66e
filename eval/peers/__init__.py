"""Other retrieval stacks over the same documents, questions and weights: a program each, in an environment of its own."""
