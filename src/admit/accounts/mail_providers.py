"""Domains where anybody can get a mailbox. A rule that trusts one of them lets everybody in."""

_DOMAINS = """
126.com 139.com 163.com 189.cn aim.com alice.it aliceadsl.fr aliyun.com aol.com aol.de arcor.de
att.net bellsouth.net bigpond.com blueyonder.co.uk bluewin.ch bol.com.br btinternet.com centrum.cz
charter.net comcast.net cox.net daum.net disroot.org duck.com earthlink.net email.com email.cz
fastmail.com fastmail.fm foxmail.com free.fr freenet.de frontier.com gawab.com gmail.com gmx.at
gmx.ch gmx.com gmx.de gmx.fr gmx.net googlemail.com hanmail.net hey.com home.nl hotmail.be
hotmail.ca hotmail.co.jp hotmail.co.uk hotmail.com hotmail.com.br hotmail.de hotmail.es hotmail.fr
hotmail.it hotmail.nl hushmail.com icloud.com ig.com.br inbox.com inbox.lv inbox.ru interia.pl
internode.on.net juno.com kpnmail.nl laposte.net libero.it list.ru live.be live.ca live.co.uk
live.com live.de live.fr live.it live.nl lycos.com mac.com mail.com mail.de mail.ee mail.ru
mailbox.org mailinator.com mailfence.com me.com mindspring.com msn.com nate.com naver.com neuf.fr
ntlworld.com o2.pl onet.pl onmail.com op.pl optonline.net optusnet.com.au orange.fr outlook.at
outlook.be outlook.co outlook.com outlook.com.br outlook.de outlook.dk outlook.es outlook.fr
outlook.it outlook.jp outlook.pt passport.com pm.me post.cz posteo.de posteo.net protonmail.ch
protonmail.com proton.me q.com qq.com rambler.ru rediffmail.com riseup.net rocketmail.com rogers.com
runbox.com sapo.pt sbcglobal.net seznam.cz sfr.fr shaw.ca sina.cn sina.com sky.com skynet.be
sohu.com startmail.com sympatico.ca t-online.de talktalk.net telenet.be telia.com telus.net
terra.com.br tiscali.co.uk tiscali.it tuta.com tuta.io tutamail.com tutanota.com tutanota.de
ukr.net uol.com.br verizon.net videotron.ca vip.163.com vip.qq.com virgilio.it virgin.net
virginmedia.com wanadoo.fr
web.de windowslive.com windstream.net wp.pl ya.ru yahoo.ca yahoo.co.id yahoo.co.in yahoo.co.jp
yahoo.co.kr yahoo.co.uk yahoo.com yahoo.com.ar yahoo.com.au yahoo.com.br yahoo.com.hk yahoo.com.mx
yahoo.com.ph yahoo.com.sg yahoo.com.tw yahoo.com.vn yahoo.de yahoo.es yahoo.fr yahoo.ie yahoo.in
yahoo.it yahoo.pl yahoo.se yandex.by yandex.com yandex.kz yandex.ru yandex.ua yeah.net ymail.com
zoho.com zohomail.com
"""
PUBLIC_MAIL_DOMAINS = frozenset(_DOMAINS.split())
