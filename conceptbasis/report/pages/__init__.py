"""What goes into HTML pages: inline scripts and styles, and the cards of the atom browser."""
