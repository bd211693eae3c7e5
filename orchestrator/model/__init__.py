"""What tasks, runs, events and policies are.  Pure: no files, no processes, no clock."""
