"""The sidebar: the list of conversations and the account menu.

sidebar, conversation_row, search   the list
conversation_menu                   what is offered for a conversation
conversation_actions                what that does
account_menu                        the API key: its name, limits, and usage
"""
