"""A local page that asks both models of a finished run, edit off and on, token by token."""
