"""What a command sets up before it computes, and compiled programs kept on disk."""
