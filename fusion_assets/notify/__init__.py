"""Who is told when something went wrong, and in which words.

What belongs here: the events, who subscribed to them, the text of their mails, and sending one so that it can never
hurt the work it reports on. What does not: speaking SMTP (`resources.smtp`), and deciding that something went wrong.
"""

from fusion_assets.notify.letter import Message
from fusion_assets.notify.mailbox import Mailbox
from fusion_assets.notify.messages import BackupFailure, FailedStudy, backup_failure_message, sample_message
from fusion_assets.notify.posted import Delivered, Fate, Posted, Waiting
from fusion_assets.notify.recipients import Event, Subscribers, recipients_folder, subscribers
from fusion_assets.notify.send import NotSent, Reason, Sent, notify, prepare

__all__ = [
    "BackupFailure",
    "Delivered",
    "Event",
    "FailedStudy",
    "Fate",
    "Mailbox",
    "Message",
    "NotSent",
    "Posted",
    "Reason",
    "Sent",
    "Subscribers",
    "Waiting",
    "backup_failure_message",
    "notify",
    "prepare",
    "recipients_folder",
    "sample_message",
    "subscribers",
]
