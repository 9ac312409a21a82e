"""The doors: HTTP, pages, command line, worker."""
