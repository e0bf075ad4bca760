"""VGG Image Annotator (VIA), versions 1 and 2: projects and exports as JSON or CSV."""
