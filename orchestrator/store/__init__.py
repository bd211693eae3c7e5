"""The only writers of state: every file that changes under ``work/`` changes here."""
