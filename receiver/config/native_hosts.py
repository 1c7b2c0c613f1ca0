"""The web addresses that services hand out for their webhooks, such as `https://hooks.slack.com/services/…`.

Apprise recognises these as its own `slack://…`. The table is for the names and the styles of targets: an address that
is not in it is tried like any other.
"""

NATIVE_HOSTS = {
    "hooks.slack.com": "slack",
    "hooks.slack-gov.com": "slack",
    "discord.com": "discord",
    "discordapp.com": "discord",
    "ntfy.sh": "ntfy",
    "chat.googleapis.com": "gchat",
    "azure.com": "workflows",
    "powerplatform.com": "workflows",
    "mattermost": "mmosts",
    "webexapis.com": "webex",
    "api.ciscospark.com": "webex",
    "webhooks.t2bot.io": "matrix",
    "inbots.zoom.us": "zoom",
    "cliq": "cliq",
    "ryver.com": "ryver",
    "xmatters.com": "xmatters",
    "api.46elks.com": "46elks",
    "api.flock.com": "flock",
    "api.incident.io": "incidentio",
    "api.lfg.gm": "lfg",
    "api.spike.sh": "spike",
    "api.squadcast.com": "squadcast",
    "api.eu.squadcast.com": "squadcast",
    "api.wpush.cn": "wpush",
    "alert.victorops.com": "victorops",
    "developer.lametric.com": "lametric",
    "fluxer.app": "fluxer",
    "guilded.gg": "guilded",
    "maker.ifttt.com": "ifttt",
    "n.tkte.ch": "notifico",
    "notica.us": "notica",
    "open.larksuite.com": "lark",
    "push.spug.dev": "spugpush",
    "pushplus.plus": "pushplus",
    "qmsg.zendee.cn": "qq",
    "qyapi.weixin.qq.com": "wecombot",
    "signals.firehydrant.com": "firehydrant",
    "stackfield.com": "stackfield",
    "kookapp.cn": "kook",
    "youlmk.com": "youlmk",
}
"""The service behind an address: by its host, the end of that, or its first label."""
