"""What a study of circuits shows: tables, the figure of effects, and a page."""
