"""One attempt is one supervised process. Knows log folders and journals' descriptors, but no status
folder."""
