"""From a picture's URL to the picture in a ping: fetch, archive, thumbnails, contact sheets, and links to them.

It leaves the rows to `store`, and messages to `notify`. Nothing is imported here: the drawing child imports this too.
"""
