"""This room starts, watches and ends the processes of `imagi serve`."""
