"""COCO: instances, stuff and panoptic masks in JSON files (cocodataset.org/#format-data)."""
