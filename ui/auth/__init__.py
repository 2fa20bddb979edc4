"""Who may open the page.

session_middleware  the visitor of every request and socket
sessions, sign_in   visitors who sign in with their own API key
links, link_entry   one-time links for the owner of the machine
"""
