"""SQuAD files to windows of question and context."""
