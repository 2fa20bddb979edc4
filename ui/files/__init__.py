"""Files and images of a message, and the text that is read from them.

message        a message's text, files, and images
text_files     text files within a message
images         images within a message
charsets       character set detection
pdf            text of PDF files, read by pdf_process in a process of its own
"""
