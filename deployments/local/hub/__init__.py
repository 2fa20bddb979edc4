"""Models from a Hugging Face hub, kept where Hugging Face's own library keeps and finds them.

`pull` downloads through the library's session and its addresses, and keeps a partial
file, since the library, from version 1.0, deletes it when a download is interrupted.
"""
