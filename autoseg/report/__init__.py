"""What a run found, for people: tables, plots, Markdown, a page, a dashboard."""
