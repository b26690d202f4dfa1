"""One file per pipeline stage; a stage loads artifacts, calls the core, decides, and saves."""
