"""Drawing: classes over pictures, previews of a data set, parts of contact sheets."""
