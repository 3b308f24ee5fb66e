"""The tutor as an agent: what to do next is decided, done with tools, answered from the notes, and checked."""
