"""One module per script in `launch/`: what the command does once its arguments are parsed."""
