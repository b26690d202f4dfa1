"""Chats to tokens and back; generation and likelihood."""
