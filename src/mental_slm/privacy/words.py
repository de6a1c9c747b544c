"""Word lists that tell a person's name from other words with a capital letter.

The given names and surnames themselves come from Faker (see :mod:`mental_slm.privacy.names`). What
stands here is the opposite: names that are also plain words, and capitalised words that are never a
person. All keys are lower case, without accents.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


#: Given names that are also words, where a capital in the middle of a sentence means the person.
NAME_WORDS = _words("""
    al amber bailey basil beau bell bill bo bob buddy cam carol chip chuck clay cliff crystal curt
    daisy dale dawn dean dick dolly don dot drew duke earl ed frank gene ginger grant hazel heath
    heather herb holly hunter iris ivy jack jade jasmine jay jean jet jewel jo jude kit kitty
    lance laurel lee mac mark marshall mason mat max melody miles nan nick olive otto page pat
    patty pearl penny piper poppy randy ray reed reid rob robin rocky rod rose rosemary rowan ruby
    rusty sandy skip steward sue tad tom tucker ty van vic violet wade walker willow woody
""")

#: Names that are plain words, virtues, months, places or peoples far more often than persons. They
#: count only where the words around them speak of a person.
RARELY_NAMES = _words("""
    adelaide alexa alexandria alma america ana angel april arizona art asia aspen athena august
    aurora austin autumn berlin blessing bliss boston brandy bristol brooklyn camden candy
    carolina chance charity charlotte chase chelsea cherry chester christian cleveland columbia
    constance dakota dallas darling davis denver desire destiny devon diamond easter ebony eden
    ember eve faith fern florence florida geneva georgia grace hamilton harmony haven heaven
    holland hope houston hudson india indiana ireland israel jackson jan january jordan journey
    joy june justice kent kenya king lane lexus liberty lincoln london love lucky luna madison
    major marine marvel maverick may melbourne mercedes mercy messiah milan miracle montana nevada
    odessa orlando paris patience peace phoenix precious preston prince princess prudence queen
    raleigh raven reagan rich richmond river rome saint savanna savannah scarlet sierra sky star
    storm stormy summer sunny sunshine sydney taylor teddy tennessee texas treasure trenton
    trinity troy valencia valentine venice verona victoria victory virginia washington wellington
    wendy will winter york
""")

#: Entries of name lists that are hardly ever persons in English prose.
NOT_NAMES = _words("""
    ab aba abb ace add age ah alcan ale alla almond alpha alta alto ama among an anda angeles anh
    anon antim ants ara aras arch argu aryan ascension atte aud aura austen author avis baba babe
    baby baker banks bara beat bee bent berry beste bird bishop bitten blanca blossom boss brain
    branch brown bud buena bunk burns burr bush cal campo can canal candida cannon canyon cap
    captain cara carry cas case cash cass ceil champ chanel che cher cherish chi chin china christ
    cinnamon clas colon colonel colt columbus come comfort con conn constant coral cord corona
    council creed cruz cuba dag dai deb dee deja del dell della delta demi desi destin dev dex
    diego diyor doc dock doctor doll domingo dotty dove dow dries duff dung durante dusty early
    earnest echo edit edu el ela elder ell els else emin emit era esa esi essa essence eta ether
    ever fairy fancy fares fate fed feline fem fisher fleet flint flo floor ford forest forum
    foster franc france francisco french friend fuller gage gal gala garner garrison gauge gay gee
    general genesis genie geo german giz golden gorge governor graves gray green greet grit gro
    gun gust gusta guy habil hale hall ham handy harden hardy hari harm harmon harsh hart hasta
    hava hayat hence hilbert hill hoy hung hunt huy hymen ib ibn icy ide ima imo indie ine infant
    innocent ion irl isa ise ivory jail jed jesus job joke judge junior juris justo kale karma
    kelvin kick lady lambert lan lander lark lavender lawyer le leafy lean lem lemma lemon len
    less li lien lies lim line link little lo loan lone long loot lore lot louisiana lovey loyal
    lu lut lyn lyric mad made mai mal male malle man manly mans manus mar mare margarita marry
    marsh marshal martial mate math mats maxi maxima mayo meadow media memphis mentor merry meta
    metro mile miller mills miner minor mio mira misty mont moody muslim my nada nail nas naz nazi
    neo newton nik nil nim noble noe north nour nova obed octave odd ole olympia om oma ora oral
    orange ove over owe pak pal par park pascal pastor paw paz peer pepper per pero pesent pien
    pier pim pink pleas pleasant pol porsche porter press price prima prosper puck purity radi
    raid rand ransom ras reason red rein rey rica rice ridge rim roar rock roe rok roll roma roman
    royal rune rush rut sabah sad safari saga sage said sal salah salud salvador santa seaborn
    sefer sem sep serenity server sever shade shepherd side sie sil silver sim sina sincere sine
    sing sister siti smith sol sole son sona sonata spring sterling stone sunday sys tab tai taj
    tal tamam tan tane tea terra tex theres theta thi thor ties til till tine tiny tome tone tor
    tore toy trace tre tri true tu tung uma una unique unknown unnamed uno urban urs us val valid
    vander velvet verde vere vero versa vi vid vida vide viking villa ville vita von vu wage ward
    wash watt wells west whit windy wing wolf wolfram wood worth wright yada yana yar yen yoga
    young zaire
""")

#: Capitalised words that are never a person, nor the surname after a given name.
NOT_PERSONS = _words("""
    a abilify about adderall adhd admin africa african after again all allah also although am
    amazon american americans an and android anonymous anxiety any anybody anyone anyway apartment
    apparently apple april arab arabic are as asd asia asian asperger's aspergers at ativan august
    australia australian autism autistic avenue bc because been before belgian berlin bible
    bipolar birthday borderline both bpd brazil brazilian british buddha buddhist but by
    california can can't canada canadian catholic catholics cbt celexa center centre chicago china
    chinese christ christianity christians christmas church claus clinic college colombian come
    could couldn't court covid cptsd cuban cymbalta dad daddy days dbt death december denmark
    depressed depressing depression depressive diary did didn't disney disorder do doctor doctors
    does doesn't don't dr drive dutch dysphoria each easter ebay edit edited effexor egypt
    egyptian eid either elementary english ethiopian europe european eve even evening every
    everybody everyone everything exam facebook family father february feel filipino finally
    finland finnish florida folks for france french friday friend friends from future gay german
    germany girl girls go god goddess going google got grandma grandpa granny greece greek guy
    guys had hadn't halloween hanukkah happy has hasn't have haven't he he'd he'll he's hell hello
    her here hers hey hi high him hindu his hispanic hope hospital hotel hours house how however
    humanity hungarian hungary i i'd i'll i'm i've id if ill im in inc indian instagram institute
    internet introvert iphone iran iranian iraq ireland irish is islam islamic isn't it it's
    italian italy its ive jamaican january japan japanese jesus jewish jews july june just kids
    kik kitty klonopin korea korean lamictal lane last latina latino latuda lebanese lesbian let
    let's lexapro life like linkedin lithium llc london loneliness lord lot lots love lsd ltd luck
    ma'am madam mail man mania march may maybe mcdonald's me mental mexican mexico microsoft
    middle minecraft mister moderator moderators mods mom mommy monday month months more morning
    moroccan most mother mothers mum mummy muslims my native netflix never new new-year's next nhs
    nigeria nigerian night nintendo no nobody noon norway norwegian not nothing november now
    nowhere ocd october of off oh ok okay omg on once one only op or other others our out over
    pakistan pakistani panic papa parents paris park past paxil paypal people persian person
    personality pinterest place playstation please pm pokemon poland polish portuguese post posts
    probably protestant prozac ptsd question ramadan rather really reddit redditor redditors
    regards right ritalin road romania romanian russia russian said santa satan saturday
    schizophrenia schizophrenic school scotland scottish see self september seroquel sertraline
    shall she she'd she'll she's should sir sister skype sleep snapchat so social somali some
    somebody someone something sometime sometimes sorry spain spanish spotify square st starbucks
    steam still stranger strangers street subreddit such sunday sunglasses sure sweden swedish
    swiss switzerland syndrome syrian taiwan take target teachers team tell thai thailand than
    thank thanks thanksgiving that that's the their them then therapist there there's these they
    they'd they'll they're they've thing things this those though through throwaway thursday
    tiktok time tinder title tl tldr to today together tokyo tomorrow too trans transgender
    trintellix tuesday tumblr turkey turkish tv twitch twitter two uber uk ukraine ukrainian
    universe university until up update us usa valentine's valium very via vietnam vietnamese
    virgin visa vs vyvanse wait wales walmart was wasn't we we'd we'll we're we've wednesday week
    weekend welcome well wellbutrin welsh went were weren't west what what's whatsapp when
    whenever where whether which while white who whoever why wife wikipedia windows with without
    won't work world would wouldn't xanax xbox xmas yahoo yeah year years yes yesterday yet york
    you you'd you'll you're you've your yours youtube zoloft zoom zyprexa
""")

#: Words for people that a name follows ("my friend Daniel"), singular.
RELATIONS = _words("""
    ami amie aunt auntie aunty baby babysitter bestfriend bestie bf bff boss boyfriend bro brother
    bruder buddy chef child classmate client co-worker coach colleague copain copine counsellor counselor
    cousin coworker crush daddy daughter ex ex-boyfriend ex-girlfriend ex-husband ex-wife father
    femme fiance fiancee fille fils flatmate frau frere freund freundin friend gf girlfriend
    godfather godmother godson granddaughter grandson guy housemate hubby husband kid kollege
    kollegin landlady landlord lawyer manager mann mari mate mommy mother nanny neighbor neighbour
    nephew niece nurse pal partner pastor patient priest principal psychiatrist psychologist
    roomie roommate schwester sis sister soeur sohn son spouse stepbrother stepdad stepdaughter
    stepfather stepmom stepmother stepsister stepson supervisor sœur teacher therapist tochter
    toddler tutor twin uncle wife
""")

#: Forms of address that a surname or a given name follows.
TITLES = _words("mr mrs ms miss mx dr prof professor sir madam mister doctor herr senor senora mme")

#: Forms of address for relatives and professions: a name follows only where it looks like one.
SOFT_TITLES = _words("""
    aunt auntie aunty brother coach don dona father frau grandma grandpa granny imam judge nana
    nurse officer papa pastor rabbi reverend sister uncle
""")

#: What people do in a sentence: after a name that is also a word, it means the person.
PERSON_VERBS = _words("""
    admitted agreed always answered apologised apologized asked asks broke called came cheated
    cried decided didn't died doesn't dumped explained hated hates helped hugged invited isn't
    keeps kept kissed knew knows laughed left loved loves married met moved never promised replied
    said says screamed started stopped tells texted texts thinks thought told wanted wants wasn't
    went who whom won't wouldn't wrote yelled
""")

#: What stands before such a name when it means the person.
PERSON_LEADS = _words("""
    asked dated dating divorced dumped hugged invited kissed loved married met miss missed named
    nicknamed phoned texted thanked told visited visiting
""")

#: What stands before a word that is not a name, whatever its capital.
DETERMINERS = _words("""
    a an another any at each every from gave since to give had has have having her his in its
    last less lost more my new next no of on our some that the their these this those very your
""")

#: Short forms that Faker's lists lack.
SHORT_FORMS = _words(
    "becca bri brie gabby izzy jen jenn jojo kat maddie mikey paddy steph tash topher"
)

#: What stands before a place that is called after a person ("San Leandro", "Fort Wayne").
PLACE_PREFIXES = _words(
    "san santa santo sao los las fort port mount lake cape new north south east west saint camp"
)

#: What follows a name that something is called after ("William Murray Secondary School").
CALLED_AFTER = _words("""
    academy airport avenue bank beach bridge bay church city clinic college county disease
    elementary foundation high hospital hotel institute island lake library medical memorial museum
    park pass prize river road scale school secondary square stadium station street summit syndrome
    theater theatre tower university valley
""")

#: What makes an "in" before a name speak of a person ("I confide in Daniel").
TRUSTING = _words(
    "believe believed believes confide confided confides confidence disappointed faith "
    "interested trust"
    " trusted"
)

#: Who is told, asked or left: after a verb of speech, it makes its subject a person.
PRONOUNS = _words("me him her us them that i to")

#: Verbs that only persons do to persons.
PERSONAL_VERBS = _words("""
    asked dated dumped hugged kissed married met phoned said says screamed texted texts told
    tells yelled
""")
