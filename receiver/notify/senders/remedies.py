"""What a person can do about the error text of a send. Pure. Of a text's matches the first in the tables counts."""

import re

_SERVER = r"(?:server says |refused: )"

# Patterns. `re` compiles each with the first failure, and a start does not wait for them.
_WHILE_TRIED = ("by itself", "next try")  # what a remedy says that holds only while there are tries left
_URL = (
    (r"needs the package", "install it as the text says"),
    (r"Apprise cannot use|redirect=|several URLs", "fix the target's URL as the text says"),
)

_MAIL = (
    (r"offers no login", "use mailtos:// in the target's URL, which starts TLS first; if the server needs no login, "
     "remove user and password"),
    (r"switch to TLS", "for a port that speaks TLS at once, usually 465, add ?mode=ssl to the target's URL; for a "
     "server without TLS, use mailto://"),
    (rf"{_SERVER}5(?:23|30|38)\b.*(?:STARTTLS|TLS|encrypt)", "the mail server wants TLS first: use mailtos:// in the "
     "target's URL"),
    (rf"{_SERVER}(?:530|5\d\d 5\.7\.(?:0|57)\b.*authent|550 5\.7\.54)", "the mail server wants a login: put user and "
     "password into the target's URL (mailtos://user:password@host)"),
    (r"\brelay", "the mail server passes on no mail from us to this recipient: put user and password into the target's "
     "URL, or use the mail server of the sender's address"),
    (rf"{_SERVER}(?:535 5\.7\.139|5\d\d\b.*basic authentication)", "this mail server no longer takes passwords: allow "
     "SMTP AUTH for the account, or use Apprise's own service for it, such as azure://"),
    (rf"{_SERVER}53[45]\b", "the mail server rejects the user or password: many servers want an app password"),
    (rf"{_SERVER}[45]52 [45]\.2\.2|mailbox (?:is )?(?:full|quota)|over ?quota", "the recipient's mailbox is full: "
     "empty it, or use another address"),
    (rf"{_SERVER}5\d\d 5\.7\.(?:2[3-9]|9\.)", "the mail server does not believe the sender's domain (SPF, DKIM): send "
     "through the domain's own mail server, or use another sender"),
    (r"about the sender|5\.7\.60|5\.2\.252|5\.1\.8\b|send ?as ?denied|not owned by|"
     rf"{_SERVER}5(?:01|5[0134])\b.*\b(?:sender|from)\b", "the mail server does not let this account send from this "
     "address: add ?from= with an address of the account's to the target's URL"),
    (rf"{_SERVER}55[013] 5\.7\.", "the mail server refuses the message by its rules: see the server's reason, and "
     "check the sender's address"),
    (rf"{_SERVER}55[013]", "the mail server refuses this recipient: check the address"),
    (rf"{_SERVER}55[24]", "the mail server refuses the message: check the sender's address, and the server's reason"),
    (rf"{_SERVER}4\d\d", "the mail server asks us to try later: a ping is tried again by itself"),
    (rf"{_SERVER}5\d\d", "the mail server refuses it: check the target's URL, and the server's reason"),
)  # fmt: skip

_WORDS = (
    (r"\bno(?:t)? .{0,60}\bto notify\b|no recipient|\bno valid .{0,40}targets", "the target's URL names no recipient: "
     "https://appriseit.com/services/ shows where it goes"),
    (r"no_service|no_active_hooks|no_team|Unknown Webhook|Invalid Webhook|invalid_token\b|invalid[-_]hook|"
     r"webhook.{0,30}(?:not found|does not exist|token invalid)|token is not exist",
     "this webhook does not exist (any more): make a new one there, and put it into the target's URL"),
    (r"invalid_auth|not_authed|token_revoked|token_expired|account_inactive",
     "its token is not accepted: make a new one, and put it into the target's URL"),
    (r"not_in_channel", "the bot is not in that channel: invite it there"),
    (r"missing_scope|no_permission|not_allowed_token_type", "the bot needs the permissions chat:write and files:write"),
    (r"supergroup", "the group has become a supergroup with a new id: put that id, which begins with -100, into the "
     "target's URL"),
    (r"channel_not_found|is_archived|user_not_found|Unknown Channel|chat not found|"
     r"(?:channel|stream|room|topic|group)\b.{0,60}(?:does not exist|not found)",
     "this channel does not exist (any more): check the channel in the target's URL"),
    (r"action_prohibited|general_channel_denied|restricted_action|ekm_access|org_login",
     "an administrator's rule forbids it: choose another channel, or ask the administrator"),
    (r"bot was blocked|bot was kicked|user is deactivated", "the bot may not write there: unblock it or invite it"),
    (r"key ?words? not|sign (?:not )?match|not in whitelist|ip not allowed|\b3100\d\d\b|\b1902[124]\b",
     "the robot there takes only messages that pass its security settings: let it take the keyword receiver, or this "
     "machine's address"),
    (r"sender identity|verified sender|sender signature|(?:domain|address) is not verified|sending domain|"
     r"from address", "the service does not accept this sender: verify its address or domain there, or change the "
     "sender in the target's URL"),
    (r"unregistered user|not a valid (?:user|phone|number)|is unverified|invalid recipient|device token",
     "the service does not know this recipient: check the recipient in the target's URL"),
    (r"error=402|out of credit|insufficient (?:funds|credit|balance)|not enough credit|monthly message limit",
     "the account there has no messages left: buy some there, or wait for its next month"),
    (r"invalid_blocks|invalid_attachments|error=413|too large|attachment",
     "the picture may be the cause: a ping's next try goes without it"),
    (r"error=429|rate.?limit", "it gets too many messages: give the target a rate or a digest"),
    (r"error=30[1278]", "it sends us elsewhere, and redirects are never followed: put the address that it leads to "
     "into the target's URL; for https, most services have a scheme that ends in s"),
    (r"error=40[13]|authenticat|unauthori[sz]ed|(?:api|access|routing|application).?(?:key|token)s?\b.{0,40}(?:valid|found|missing|"
     r"suppl|incorrect)|(?:invalid|wrong|bad) (?:api |access )?(?:key|token|password|credentials)|key not found",
     "it rejects our credentials: check the user, password or token in the target's URL"),
    (r"error=4(?:04|10)", "what the target's URL names does not exist (any more): check the URL"),
    (r"error=405", "what answers there does not take messages: check host, port and path in the target's URL"),
    (r"error=4(?:00|06|15|22)", "it does not understand the request: check the target's URL"),
    (r"error=5\d\d", "the fault is on its side: try again later; a ping is tried again by itself"),
    (r"refused it", "check the target's URL, and the service's reason"),
)  # fmt: skip

_CONNECTION = (
    (r"host name is not known", "check the host name in the target's URL, and this machine's DNS"),
    (r"connection was refused", "check host and port in the target's URL, and that the service runs there"),
    (r"TLS certificate", "fix its certificate, or the host name in the target's URL"),
    (r"no TLS", "check that its port speaks TLS: some services have a scheme with TLS, and one without"),
    (r"no answer in time|not finished within|still hang", "check that it works, and that no firewall blocks it"),
    (r"no route|connection was cut|Connection error", "check host and port in the target's URL, and this machine's "
     "network"),
    (r"appriseit\.com", "fix the target's URL as the text says"),
)  # fmt: skip


def find_remedy(error: str) -> str | None:
    """What a person can do about an error, if its text shows that."""
    tables = (*_URL, *_MAIL, *_WORDS, *_CONNECTION)
    return next((remedy for pattern, remedy in tables if re.search(pattern, error, re.IGNORECASE)), None)


def find_advice(error: str) -> str:
    """The remedy as a sentence without its full stop, for a message that nobody tries again by itself."""
    remedy = find_remedy(error) or ""
    if not remedy or any(words in remedy for words in _WHILE_TRIED):
        return "Fix the target"
    return remedy[0].upper() + remedy[1:]
