"""Drawing: classes over pictures, captions, previews of a data set."""
