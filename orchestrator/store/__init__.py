"""The writers of task state: files of tasks, runs, results, events and the ledger change here, and
nowhere else but in an attempt's own folder (the supervisor), in the index (projection) and in what
``init`` makes."""
