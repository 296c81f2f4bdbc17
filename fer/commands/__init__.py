"""One file a script of `launch/`: what the command does, once its arguments are parsed."""
