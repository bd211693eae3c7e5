"""Reading files: where they are, what they say, what is wrong with them.  Nothing here writes."""
