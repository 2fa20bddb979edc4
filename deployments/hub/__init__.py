"""Downloads from a Hugging Face hub into the folder where Hugging Face's own library keeps and finds models.

`pull.py` downloads through the library's session and its addresses, and keeps a partial
file, since the library, from version 1.0, deletes it when a download is interrupted.
"""
