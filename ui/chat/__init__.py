"""The chat page.

page               one open browser page
conversation_view  transcript and composer of the open conversation
transcript, question, answer, streaming_answer, version_pager, answer_stats, message_actions
composer, attachments, status_line, topbar, parameters_dialog, welcome
"""
