"""The apps that the servers of the matrix serve; they run in those servers' processes, and use flagmw as anybody would."""
