"""The URL schemes of Apprise's services, and the module of Apprise that serves each.

A start refuses a mistyped scheme without loading Apprise, and a send loads one module of Apprise's 180. Taken from the
version in `requirements/`; a test compares the two.
"""

_MODULES = """
africas_talking:atalk amqp.base:amqp,amqps apprise_api:apprise,apprises aprs bark:bark,barks betterstack blink1
bluesky:bluesky,bsky brevo bulksms bulkvs burstsms:burstsms,kudosity chanify clickatell clicksend
cliq:cliq,zcliq,zohocliq cm custom_form:form,forms custom_json:json,jsons custom_xml:xml,xmls d7networks:d7sms dapnet
dbus:dbus,kde,qt deltachat:deltachat,deltachats dingtalk discord dot eight00com email.base:mailto,mailtos
emby:emby,embys enigma2:enigma2,enigma2s evolution:evolution,evolutions exotel fcm feishu firehydrant flock
flowtriq:flowtriq,flowtriqs fluxer:fluxer,fluxers fortysixelks:46elks,elks freemobile github glib:gio,glib gnome
goalert:goalert,goalerts google_chat:gchat gorush:gorush,gorushs gotify:gotify,gotifys groundmail groupme growl
guilded gupshup home_assistant:hassio,hassios httpsms humhub:humhub,humhubs ifttt ilert incidentio infobip
irc.base:irc,ircs jellyfin:jellyfin,jellyfins jira join kakaotalk:kakao,kakaotalk kaleyra:kaleyra,klr kavenegar
kodi:kodi,kodis,xbmc,xbmcs kook kumulos lametric:lametric,lametrics lark lauther lfgalarm:lfg line macosx mailersend
mailgun mastodon:mastodon,mastodons,toot,toots matrix.base:matrix,matrixs mattermost:mmost,mmosts messagebird:msgbird
misskey:misskey,misskeys mobilemessage:mobilemessage,mobilemsg mqtt:mqtt,mqtts msg91 nextcloud:ncloud,nclouds
nextcloudtalk:nctalk,nctalks nostr.base:nostr notica:notica,noticas notifiarr notifico:notifico,notificos notifyre
ntfy:ntfy,ntfys octopush office365:azure,o365 one_signal:onesignal onebot:onebot,onebots opsgenie pagerduty pagertree
parseplatform:parsep,parseps pinglet:pinglet,pinglets pingram plivo postmark prowl pushbullet:pbul
pushdeer:pushdeer,pushdeers pushed pushjet:pjet,pjets pushme pushover:pover pushplus:pushplus,wecom
pushsafer:psafer,psafers pushward pushy qq reddit resend revolt ringcentral:ringc rocketchat:rocket,rockets rsyslog
ryver sendgrid sendpulse serverchan:schan serwersms ses seven sfr signal_api:signal,signals signalgrid signl4
simplepush:simplepush,spush sinch slack smpp:smpp,smpps smsc smseagle:smseagle,smseagles smsmanager:smsmanager,smsmgr
smstunnel smtp2go sns sogs:session,sessions,sogs sparkpost spike splunk:splunk,victorops spugpush squadcast stackfield
streamlabs:strmlabs synology:synology,synologys syslog techuluspush:push telegram:tgram telesign telnyx threema
trigv:trigv,trigvs twilio twist twitter:tweet,twitter,x vapid viber voipms vonage:nexmo,vonage
webexteams:webex,wxteams wechat wecombot whapi whatsapp windows workflows:workflow,workflows wpush wxpusher xmatters
xmpp.base:xmpp,xmpps youlmk zalo zoom zulip
"""  # a module with its schemes after a colon, or one whose only scheme has its name
_TAKING_FILES = """
apprise_api bluesky brevo deltachat discord dot email.base fluxer groundmail groupme guilded humhub kook mailersend
mailgun mastodon matrix.base mattermost nostr.base ntfy office365 onebot postmark pushbullet pushover pushsafer resend
sendgrid sendpulse ses signal_api simplepush slack smtp2go sparkpost telegram twitter webexteams whapi
"""
FOR_MACHINES = frozenset({"custom_form", "custom_json", "custom_xml"})
"""Modules of services whose reader is a program: it gets fields with links, without waiting for a picture."""
PAID_BY_THE_PICTURE = frozenset({"eight00com", "notifyre", "ringcentral", "serwersms", "smsc", "smseagle"})
"""Modules of services that would make a dearer MMS or a fax of a message with a picture."""


def _modules_by_scheme() -> dict[str, str]:
    found = {}
    for word in _MODULES.split():
        module, _, schemes = word.partition(":")
        found.update(dict.fromkeys((schemes or module).split(","), module))
    return found


MODULES = _modules_by_scheme()
SCHEMES = frozenset(MODULES)
FILE_SCHEMES = frozenset(scheme for scheme, module in MODULES.items() if module in _TAKING_FILES.split())
"""Of services that take a picture as a file."""
NATIVE = frozenset({"http", "https"})
"""A service's own web address, such as `https://hooks.slack.com/services/…`; Apprise recognises some of them."""
