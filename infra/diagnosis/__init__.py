"""What `hermes doctor` looks at, a function per check; each may take its time or raise."""
