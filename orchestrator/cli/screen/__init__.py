"""What is drawn: the pane and its footer, lines, followed logs, windows, the report page."""
