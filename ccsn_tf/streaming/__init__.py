"""Videos without end, answered as they come: each pair's flow and each snippet's features once, whatever the window."""
